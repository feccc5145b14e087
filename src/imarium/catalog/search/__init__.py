"""Finds series: what a query means for the tables of the catalog, counts and pages.

`columns` holds what is asked most in memory; `texts` is full-text search of both databases; `leaves` says
which series meet one term of a query, and `evaluating` which meet the whole of it; `facets` counts, `paging`
orders and cuts; `service` is what others call.
"""
