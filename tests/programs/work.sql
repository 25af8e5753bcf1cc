PRAGMA cache_size = 300;
CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT UNIQUE, body BLOB, weight INTEGER);
CREATE INDEX item_weight ON item (weight, name);
CREATE TABLE line (item INTEGER REFERENCES item, number INTEGER, text TEXT, PRIMARY KEY (item, number)) WITHOUT ROWID;
BEGIN;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
INSERT INTO item SELECT i, printf('item %d %d', (i * 7919) % 10007, i), zeroblob(i % 3000 / 10) || i, i % 101 FROM n;
INSERT INTO line SELECT id, weight % 7, substr(name || name || name, 1, 5 + id % 40) FROM item;
INSERT INTO line SELECT id, 100 + id % 5, hex(substr(body, -4)) FROM item WHERE id % 3 = 0;
COMMIT;
SELECT count(*), sum(length(body)), sum(weight) FROM item;
SELECT weight, count(*), min(name), max(name) FROM item GROUP BY weight HAVING count(*) > 1 ORDER BY weight;
SELECT i.name, group_concat(l.text, '|') FROM item i JOIN line l ON l.item = i.id WHERE i.id % 199 = 0 GROUP BY i.id;
DELETE FROM line WHERE item IN (SELECT id FROM item WHERE weight % 4 = 1);
DELETE FROM item WHERE weight % 4 = 1;
UPDATE item SET body = body || name || body, name = name || '+' WHERE weight % 4 = 2;
SELECT count(*), sum(length(body)), sum(length(name)) FROM item;
SELECT sum(unicode(substr(t, 1 + p % length(t), 1)) * p) FROM
    (SELECT text AS t, item + number AS p FROM line ORDER BY text DESC, item);
VACUUM;
REINDEX;
PRAGMA integrity_check;
PRAGMA foreign_key_check;
