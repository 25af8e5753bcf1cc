-- A shop's database in memory: inserts, indexes, joins, aggregates, updates and deletes. `{rows}` is the number of orders; the
-- answer is what the queries say, with the integrity check as the last line.
CREATE TABLE customer (id INTEGER PRIMARY KEY, name TEXT, city TEXT);
CREATE TABLE purchase (id INTEGER PRIMARY KEY, customer INTEGER REFERENCES customer, day INTEGER, note TEXT);
CREATE TABLE line (purchase INTEGER REFERENCES purchase, item INTEGER, price REAL, text TEXT, PRIMARY KEY (purchase, item))
    WITHOUT ROWID;
BEGIN;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows} / 10)
INSERT INTO customer SELECT i, printf('customer %d', i * 7919 % 10007), printf('city %d', i % 101) FROM n;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})
INSERT INTO purchase SELECT i, 1 + i * 7919 % ({rows} / 10), i % 365, hex(zeroblob(i % 97)) || i FROM n;
INSERT INTO line SELECT p.id, k.value, p.id * k.value % 1013 / 4.0, printf('item %d of %d', k.value, p.id)
    FROM purchase p JOIN json_each('[1,2,3]') k;
CREATE INDEX purchase_customer ON purchase (customer, day);
CREATE INDEX line_item ON line (item, price);
CREATE INDEX customer_city ON customer (city, name);
COMMIT;
SELECT city, count(*), sum(price), max(l.text) FROM customer c JOIN purchase p ON p.customer = c.id
    JOIN line l ON l.purchase = p.id GROUP BY city ORDER BY sum(price) DESC, city LIMIT 20;
SELECT day, count(DISTINCT customer), sum(length(note)), total(day) FROM purchase GROUP BY day HAVING day % 50 = 0;
WITH spent AS (SELECT customer, sum(price) AS total FROM purchase p JOIN line l ON l.purchase = p.id GROUP BY customer)
SELECT count(*), max(total), min(total) FROM spent WHERE total > (SELECT avg(total) FROM spent);
SELECT group_concat(name, ', ') FROM (SELECT DISTINCT name FROM customer WHERE city = 'city 7' ORDER BY name LIMIT 10);
SELECT sum(length(whole)) FROM (SELECT group_concat(text, '|') AS whole FROM line GROUP BY purchase % 503);
UPDATE purchase SET note = note || '+' || note WHERE day % 4 = 1;
DELETE FROM line WHERE purchase IN (SELECT id FROM purchase WHERE day % 5 = 2);
DELETE FROM purchase WHERE day % 5 = 2;
SELECT count(*), sum(length(note)) FROM purchase;
SELECT count(*), sum(price), sum(unicode(substr(text, 6, 1))) FROM line;
DROP INDEX line_item;
VACUUM;
PRAGMA integrity_check;
