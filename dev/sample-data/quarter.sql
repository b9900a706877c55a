-- A quarter of a small software company, half over: what the key results in examples/ are read from.
-- Everything is dated relative to today, so that the story stays the same on any day.

CREATE SCHEMA IF NOT EXISTS sales;
CREATE SCHEMA IF NOT EXISTS finance;
CREATE SCHEMA IF NOT EXISTS operations;

-- 2,350 leads were converted so far; 5,000 are wanted. Some older ones must not count.
CREATE OR REPLACE TABLE sales.leads AS
SELECT id, DATE_SUB(CURRENT_DATE(), INTERVAL MOD(id, 45) DAY) AS converted_on FROM UNNEST(GENERATE_ARRAY(1, 2350)) AS id
UNION ALL
SELECT id, DATE_SUB(CURRENT_DATE(), INTERVAL 100 DAY) AS converted_on FROM UNNEST(GENERATE_ARRAY(2351, 2900)) AS id;

-- 40 partners were won; the plan wants few early and many late.
CREATE OR REPLACE TABLE sales.partners AS
SELECT id, 'PARTNER' AS kind FROM UNNEST(GENERATE_ARRAY(1, 40)) AS id;

-- 62 of 100 customers moved to the new platform.
CREATE OR REPLACE TABLE sales.customers AS
SELECT id, id <= 62 AS migrated FROM UNNEST(GENERATE_ARRAY(1, 100)) AS id;

-- Monthly recurring revenue grew from 100,000 to 128,400.50.
CREATE OR REPLACE TABLE finance.revenue AS
SELECT DATE_SUB(CURRENT_DATE(), INTERVAL 60 DAY) AS month, NUMERIC '100000.00' AS amount
UNION ALL SELECT DATE_SUB(CURRENT_DATE(), INTERVAL 30 DAY), NUMERIC '117250.25'
UNION ALL SELECT CURRENT_DATE(), NUMERIC '128400.50';

-- Churn fell from 8 to 7.6 percent only; 5 are wanted.
CREATE OR REPLACE TABLE finance.churn AS
SELECT CURRENT_DATE() AS month, NUMERIC '7.6' AS percent;

-- Stock lasts for 24 days.
CREATE OR REPLACE TABLE operations.stock AS
SELECT 1200 AS pieces, 50 AS pieces_a_day;

-- 7 incidents, and a service that answers in 310 ms (95th percentile) and is up 99.95 percent of the time.
CREATE OR REPLACE TABLE operations.incidents AS
SELECT id, DATE_SUB(CURRENT_DATE(), INTERVAL id * 5 DAY) AS opened_on FROM UNNEST(GENERATE_ARRAY(1, 7)) AS id;

CREATE OR REPLACE TABLE operations.service AS
SELECT CURRENT_DATE() AS day, 310 AS p95_ms, NUMERIC '99.95' AS availability_percent, 38.5 AS net_promoter_score;
