"""The prompt of `timestore sql`."""
