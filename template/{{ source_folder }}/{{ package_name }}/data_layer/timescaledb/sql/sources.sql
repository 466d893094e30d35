-- Each aggregate as `upper`, with its time dimension and the retention of its source.
timescaledb_information.continuous_aggregates AS upper
JOIN timescaledb_information.dimensions AS dimension
    ON dimension.hypertable_schema = upper.materialization_hypertable_schema
    AND dimension.hypertable_name = upper.materialization_hypertable_name
LEFT JOIN timescaledb_information.continuous_aggregates AS lower
    ON lower.materialization_hypertable_schema = upper.hypertable_schema
    AND lower.materialization_hypertable_name = upper.hypertable_name
CROSS JOIN LATERAL (
    SELECT
        coalesce(lower.view_schema, upper.hypertable_schema) AS schema,
        coalesce(lower.view_name, upper.hypertable_name) AS name
) AS source
LEFT JOIN timescaledb_information.jobs AS retention
    ON retention.hypertable_schema = source.schema AND retention.hypertable_name = source.name
    AND retention.config ? 'drop_after'
