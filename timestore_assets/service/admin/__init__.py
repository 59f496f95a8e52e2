"""Looking after datasets: the routes below `/admin`, for administrators."""
