# A service's day in the small: documents of nested dicts and lists are built, written as JSON, parsed, sorted, indexed,
# changed and dropped. The argument is the number of rounds; the answer is one line for each.
import json
import sys
import zlib


def document(number):
    return {
        "id": number,
        "name": "document %d" % (number * 7919 % 10007),
        "tags": ["tag-%d" % (number * k % 97) for k in range(1, 3 + number % 9)],
        "body": "line %d of a text that is not short\n" % number * (number % 60),
        "lines": [{"item": number * k % 1013, "price": k * 1.25, "note": "n" * (k % 40)} for k in range(number % 13)],
    }


def one_round(number, kept):
    documents = [document(i + number * 131) for i in range(2000)]
    text = json.dumps(documents)
    documents = json.loads(text)
    documents.sort(key=lambda d: (d["name"], d["id"]))
    index = {}
    for d in documents:
        for tag in d["tags"]:
            index.setdefault(tag, []).append(d)
    words = sorted({word for d in documents for word in d["body"].split()})
    # A third of the index stays alive for four rounds, between what comes and goes.
    kept.append({tag: found for tag, found in index.items() if zlib.crc32(tag.encode()) % 3 == 0})
    del kept[:-4]
    joined = ",".join("%s:%d" % (tag, sum(len(d["lines"]) for d in index[tag])) for tag in sorted(index))
    old = "".join(d["name"] for tag in sorted(kept[0]) for d in kept[0][tag])
    return len(text), len(words), zlib.crc32(joined.encode()), zlib.crc32(old.encode())


def main():
    kept = []
    for number in range(int(sys.argv[1])):
        print(*one_round(number, kept))


main()
