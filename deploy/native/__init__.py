"""PostgreSQL and Kafka as plain processes, for a machine without a container engine."""
