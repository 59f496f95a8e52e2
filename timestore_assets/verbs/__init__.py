"""What can be done with datasets, a class for each concern; `warehouse.Warehouse` is all of them."""
