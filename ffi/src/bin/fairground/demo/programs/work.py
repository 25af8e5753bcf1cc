# Small objects of many lifetimes in four threads, byte arrays that grow, and one digest of it all.
import hashlib
import threading


def build(seed, results):
    state = seed * 2654435761 + 1
    table = {}
    digest = hashlib.sha256()
    for step in range(60000):
        state = (state * 6364136223846793005 + 1442695040888963407) & (2**64 - 1)
        key = f"key-{state >> 50}"
        entry = table.get(key)
        if entry is None:
            table[key] = [step, "v" * (state % 700), {"seed": seed}]
        elif len(entry) > 6:
            digest.update(repr(entry[0]).encode())
            del table[key]
        else:
            entry.append(str(state) * (1 + step % 3))
        if step % 500 == 0:
            grown = bytearray()
            while len(grown) < 40000:
                grown += state.to_bytes(8, "little") * 25
            digest.update(grown)
    for key in sorted(table):
        digest.update(f"{key}={table[key]!r}".encode())
    results[seed] = digest.hexdigest()


results = {}
threads = [threading.Thread(target=build, args=(seed, results)) for seed in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
for seed in sorted(results):
    print(seed, results[seed])
