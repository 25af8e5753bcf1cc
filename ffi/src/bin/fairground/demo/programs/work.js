// Four workers fill maps with strings and buffers of many sizes; each posts the digest of what it saw.
const { Worker, isMainThread, parentPort, workerData } = require('node:worker_threads');
const crypto = require('node:crypto');

function work(seed) {
    const digest = crypto.createHash('sha256');
    const live = new Map();
    let state = seed + 12345;
    for (let step = 0; step < 40000; step++) {
        state = (Math.imul(state, 1103515245) + 12345) >>> 0;
        const key = 'k' + (state >>> 20);
        const held = live.get(key);
        if (held === undefined) {
            live.set(key, { buffer: Buffer.alloc(state % 9000, state & 255), text: key.repeat(1 + (state % 9)) });
        } else {
            digest.update(held.buffer.subarray(0, 64)).update(held.text);
            live.delete(key);
        }
    }
    for (const [key, { buffer }] of [...live].sort(([a], [b]) => (a < b ? -1 : 1))) digest.update(key).update(buffer);
    return digest.digest('hex');
}

if (isMainThread) {
    const results = {};
    for (let seed = 0; seed < 4; seed++) {
        new Worker(__filename, { workerData: seed }).on('message', (hex) => {
            results[seed] = hex;
            if (Object.keys(results).length === 4) console.log(JSON.stringify(results, ['0', '1', '2', '3']));
        });
    }
} else {
    parentPort.postMessage(work(workerData));
}
