"""Looking after a store of results as a whole: what is in it, whether it is intact, and what nobody needs."""
