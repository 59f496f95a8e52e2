"""Sessions on topics: read, land, watch the brokers, and wait when too much waits behind them."""
