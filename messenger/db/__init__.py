"""PostgreSQL: engine, transactions, migrations."""
