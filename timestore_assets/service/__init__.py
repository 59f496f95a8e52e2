"""The HTTP service: ingest, query, SQL, admin, health, metrics, and a page to look at the data. FastAPI is imported only here."""
