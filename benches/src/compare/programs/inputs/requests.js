// A server's requests in the small: bodies arrive in buffers, are parsed as JSON, change objects and Maps, and the answers
// go out compressed. The argument is the number of requests; the answer is a checksum of all that went out.
'use strict';
const zlib = require('node:zlib');

const requests = Number(process.argv[2]);
const sessions = new Map();
const backlog = [];
let checksum = 0;
let sent = 0;

function mix(bytes) {
    for (let i = 0; i < bytes.length; i += 7) checksum = (Math.imul(checksum, 31) + bytes[i]) >>> 0;
    sent += bytes.length;
}

for (let number = 0; number < requests; number++) {
    const user = Math.imul(number, 7919) % 997;
    const items = [];
    for (let k = 0; k < number % 50; k++) items.push({ item: (number * k) % 1013, name: `item ${k}`, price: k * 1.25 });
    // The body comes in pieces, each a buffer of its own outside V8's heap.
    const body = Buffer.from(JSON.stringify({ user, items, note: 'x'.repeat((number * 37) % 3000) }));
    const pieces = [];
    for (let at = 0; at < body.length; at += 1460) {
        const piece = Buffer.allocUnsafeSlow(Math.min(1460, body.length - at));
        body.copy(piece, 0, at);
        pieces.push(piece);
    }
    const request = JSON.parse(Buffer.concat(pieces).toString());
    const session = sessions.get(request.user) ?? { total: 0, seen: new Set(), last: null };
    for (const { item, price } of request.items) {
        session.total += price;
        session.seen.add(item);
    }
    session.last = Buffer.alloc((number * 101) % 20000, request.user);
    sessions.set(request.user, session);
    const answer = Buffer.from(JSON.stringify({ user: request.user, total: session.total, seen: [...session.seen] }));
    backlog.push(number % 8 === 0 ? zlib.gzipSync(answer, { level: 1 }) : answer);
    if (backlog.length > 256) backlog.splice(number % 200, 50).forEach(mix);
}
backlog.forEach(mix);
for (const [user, session] of [...sessions].sort((a, b) => a[0] - b[0])) {
    if (session.last.some((byte) => byte !== user % 256)) throw new Error(`the buffer of user ${user} has changed`);
    mix(session.last);
}
console.log(sessions.size, sent, checksum);
