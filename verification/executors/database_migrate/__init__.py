"""`database.migrate`: applies a SQL script to a listed database, in one transaction."""
