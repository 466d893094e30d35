-- Indicators over windows of trading days. They begin when their window is full: a moving average
-- over $short and one over $long days, and the volatility of a year from the last $long returns.
WITH returns AS (
    SELECT
        instrument_id,
        day,
        close,
        ln(close / lag(close) OVER each_instrument) AS change
    FROM daily_bars
    WINDOW each_instrument AS (PARTITION BY instrument_id ORDER BY day)
)

SELECT
    instrument_id,
    day,
    close,
    CASE WHEN count(*) OVER short_window = CAST($short AS BIGINT)
        THEN CAST(avg(close) OVER short_window AS DECIMAL(12, 4)) END AS short_average,
    CASE WHEN count(*) OVER long_window = CAST($long AS BIGINT)
        THEN CAST(avg(close) OVER long_window AS DECIMAL(12, 4)) END AS long_average,
    CASE WHEN count(change) OVER long_window = CAST($long AS BIGINT)
        THEN round(stddev_samp(change) OVER long_window * sqrt(252), 6) END AS volatility
FROM returns
WINDOW
    short_window AS (
        PARTITION BY instrument_id ORDER BY day
        ROWS BETWEEN CAST($short AS BIGINT) - 1 PRECEDING AND CURRENT ROW
    ),
    long_window AS (
        PARTITION BY instrument_id ORDER BY day
        ROWS BETWEEN CAST($long AS BIGINT) - 1 PRECEDING AND CURRENT ROW
    )
ORDER BY instrument_id, day
