"""Files of columns beside Parquet: Arrow IPC, ORC and Avro, as tables within the memory."""
