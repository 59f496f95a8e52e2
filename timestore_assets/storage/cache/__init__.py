"""Objects of remote stores as local files: kept within a bound, whole or for some columns only."""
