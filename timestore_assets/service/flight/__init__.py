"""Arrow Flight SQL: the service for drivers (ADBC, JDBC, Go) that ask in SQL and land records over gRPC."""
