# Threads that build and drop objects of many sizes, a process pool forked from the threaded process, byte arrays
# that grow by realloc, and one line of digest for each.
import hashlib
import multiprocessing
import random
import sys
import threading
import zlib


def churn(seed, results):
    source = random.Random(seed)
    digest = hashlib.sha256()
    live = {}
    for step in range(int(sys.argv[1])):
        key = source.randrange(3000)
        kind = step % 5
        if kind == 0:
            live[key] = bytes([key % 256]) * source.randrange(5000)
        elif kind == 1:
            live[key] = [str(source.random()) for _ in range(source.randrange(30))]
        elif kind == 2:
            live[key] = {name: name * 3 for name in range(source.randrange(40))}
        elif kind == 3:
            grown = live.get(key)
            if isinstance(grown, bytes):
                grown = bytearray(grown)
                for _ in range(20):
                    grown += source.randrange(256).to_bytes(1, "little") * source.randrange(700)
                digest.update(grown)
                live[key] = bytes(grown[: len(grown) // 2])
        else:
            value = live.pop(key, None)
            digest.update(repr(value).encode())
    for key in sorted(live):
        digest.update(zlib.compress(repr((key, live[key])).encode(), 1))
    results[seed] = digest.hexdigest()


def in_child(number):
    table = {i: str(i) * (i % 50) for i in range(number * 1000)}
    return zlib.crc32(repr(sorted(table.items())).encode())


def main():
    results = {}
    threads = [threading.Thread(target=churn, args=(seed, results)) for seed in range(6)]
    for thread in threads[:3]:
        thread.start()
    # Forked while three threads allocate: the children must be able to allocate at once.
    with multiprocessing.get_context("fork").Pool(3) as pool:
        checks = pool.map(in_child, range(1, 25), chunksize=1)
    for thread in threads[3:]:
        thread.start()
    for thread in threads:
        thread.join()
    for seed in sorted(results):
        print("thread", seed, results[seed])
    print("children", checks)


main()
