"""S3, Google Cloud Storage and Azure Blob: clients, credentials, what goes up, what comes down."""
