-- The tables that the statements are about, in the words of the judge. Each becomes a table of ours with the same rows,
-- of which every two are a file of their own.

-- Values of every type, and null in every column.
CREATE TABLE t (id BIGINT, n INT, i INT, x DOUBLE, d DECIMAL(10, 2), w DECIMAL(28, 10), s VARCHAR, b BOOLEAN,
                day DATE, ts TIMESTAMPTZ, ntz TIMESTAMP);
INSERT INTO t VALUES
    (1, 0, 1, 1.5, 1.50, 123456789012345678.1234567890, 'a', true, '2024-01-01', '2024-01-01 00:00:00Z', '2024-01-01 00:00:00'),
    (2, 0, 2, -2.25, 2.25, 123456789012345678.1234567891, 'b', false, '2024-02-29', '2024-02-29 12:30:00Z', '2024-02-29 12:30:00'),
    (3, 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
    (4, 0, -3, 0.1, 0.10, 0.1, 'A b', true, '1969-12-31', '1969-12-31 23:59:59.999999Z', '1969-12-31 23:59:59.999999'),
    (5, 0, 10, 100.0, -7.05, -0.0000000001, '10', NULL, '1970-01-01', '1970-01-01 00:00:00Z', '1970-01-01 00:00:00'),
    (6, 0, 9, 1e20, 99999999.99, 999999999999999999.9999999999, '9', false, '2200-12-31', '2200-12-31 23:59:59Z', '2200-12-31 23:59:59'),
    (7, 0, 2147483647, 0.30000000000000004, 0.30, 0.3, '', true, '2024-01-10', '2024-01-10 06:00:00.000001Z', '2024-01-10 06:00:00.000001'),
    (8, 0, NULL, 2.5, 2.50, 2.5, '%_', false, NULL, '2024-01-10 06:00:00Z', NULL);

-- One partition for every row but the last two.
CREATE TABLE parts (id BIGINT, n INT, p VARCHAR, q INT, day DATE, b BOOLEAN);
INSERT INTO parts VALUES
    (1, 0, 'a', 1, '2024-01-09', true),
    (2, 0, 'b', 2, '2024-01-10', false),
    (3, 0, NULL, NULL, NULL, NULL),
    (4, 0, 'A b', -3, '1969-12-31', true),
    (5, 0, '10', 10, '2024-02-29', false),
    (6, 0, '9', 9, '9999-12-31', NULL),
    (7, 0, 'ü/=%', 0, '0001-01-01', true),
    (8, 0, 'a', NULL, '2024-01-09', true),
    (9, 0, 'a', NULL, '2024-01-09', true);

-- NaN beside equal numbers, of either sign; zeros of either sign; infinities.
CREATE TABLE f (id BIGINT, n INT, x DOUBLE, y FLOAT);
INSERT INTO f VALUES
    (1, 0, 1.0, 1.0), (2, 0, 'NaN', 'NaN'),
    (3, 0, 5.0, 5.0), (4, 0, 5.0, 5.0),
    (5, 0, -3.0, -3.0), (6, 0, -2.0, -2.0),
    (7, 0, 0.0, 0.0), (8, 0, -0.0::DOUBLE, -0.0::FLOAT),
    (9, 0, 'inf', 'inf'), (10, 0, '-inf', '-inf'),
    (11, 0, 1.0, 1.0), (12, 0, -('NaN'::DOUBLE), -('NaN'::FLOAT)),
    (13, 0, NULL, NULL), (14, 0, 0.1, 0.1);

-- Names that must be quoted.
CREATE TABLE names ("Id" BIGINT, n INT, "A b" VARCHAR, "x.y" INT, "Mixed" INT, "select" INT, "ünï" INT, "quo""te" INT);
INSERT INTO names VALUES (1, 0, 'a', 10, 100, 1000, 5, 7), (2, 0, NULL, NULL, NULL, NULL, NULL, NULL), (3, 0, 'c', 30, 300, 3000, 6, 8);

-- What is joined with t.
CREATE TABLE u (k INT, s VARCHAR, x DOUBLE);
INSERT INTO u VALUES (1, 'one', 1.5), (2, 'two', NULL), (NULL, 'null', 0.1), (9, NULL, 'NaN'), (1, 'uno', -0.0::DOUBLE);

-- What is inserted into, and merged with.
CREATE TABLE i (i INT, x DOUBLE, d DECIMAL(10, 2), s VARCHAR, day DATE);
INSERT INTO i VALUES (0, 0.5, 0.25, 'there', '2020-02-02');
CREATE TABLE m (k BIGINT, x BIGINT, s VARCHAR, y DOUBLE);
INSERT INTO m VALUES (1, 10, 'a', 1.0), (2, NULL, 'b', 'NaN'), (3, 30, NULL, -0.0::DOUBLE), (NULL, 40, 'd', NULL), (5, NULL, NULL, 2.0);
CREATE TABLE new (k BIGINT, x BIGINT, s VARCHAR, y DOUBLE);
INSERT INTO new VALUES (1, 11, 'A', 1.0), (3, NULL, 'C', 0.0), (NULL, 41, 'D', 9.0), (7, 70, NULL, 'NaN');
