"""Everything that knows Dagster: component, assets, sensors, checks, IO manager, resources, outbox relay."""
