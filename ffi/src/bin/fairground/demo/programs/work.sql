-- Fills tables from a recursive query, indexes, joins and sorts them; every result depends on all rows.
CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT, body TEXT, weight INTEGER);
CREATE TABLE link (source INTEGER, target INTEGER, label TEXT);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 60000)
INSERT INTO item SELECT i, 'name-' || ((i * 7919) % 10007), hex(zeroblob(i % 90)) || i, (i * 31) % 1009 FROM n;
CREATE INDEX item_name ON item (name, weight);
INSERT INTO link SELECT id, (id * 48271) % 60000 + 1, substr(body, -12) || name FROM item;
CREATE INDEX link_target ON link (target, label);
SELECT count(*), sum(length(body)), sum(weight) FROM item;
SELECT name, count(*), sum(length(body)) FROM item GROUP BY name ORDER BY 3 DESC, 1 LIMIT 20;
SELECT count(*), sum(a.weight * b.weight) FROM link JOIN item a ON a.id = source JOIN item b ON b.id = target;
DELETE FROM item WHERE weight % 3 = 0;
UPDATE item SET body = body || body || name WHERE weight % 5 = 1;
SELECT length(group_concat(body, ',')) FROM (SELECT body FROM item ORDER BY name DESC, id);
SELECT max(label), min(label), count(DISTINCT label) FROM link;
PRAGMA integrity_check;
