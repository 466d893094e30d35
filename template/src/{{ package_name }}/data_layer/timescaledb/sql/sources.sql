-- Each aggregate as `upper`, with the retention of what it selects from.
timescaledb_information.continuous_aggregates AS upper
LEFT JOIN timescaledb_information.continuous_aggregates AS lower
    ON lower.materialization_hypertable_schema = upper.hypertable_schema
    AND lower.materialization_hypertable_name = upper.hypertable_name
LEFT JOIN timescaledb_information.jobs AS retention
    ON retention.hypertable_schema = coalesce(lower.view_schema, upper.hypertable_schema)
    AND retention.hypertable_name = coalesce(lower.view_name, upper.hypertable_name)
    AND retention.config ? 'drop_after'
