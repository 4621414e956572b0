"""Two tables change together, or not at all."""

import tempfile
from pathlib import Path

import pyarrow as pa

import deltalakedb

folder = Path(tempfile.mkdtemp())
catalog = deltalakedb.connect(
    f"deltasql://sqlite/{folder}/meta.db", settings={"warehouse": str(folder)}
)
orders = pa.table({"id": [1, 2], "customer": ["ann", "bob"]})
customers = pa.table({"name": ["ann", "bob"], "orders": [1, 1]})
with deltalakedb.begin(catalog) as tx:
    tx.write("sales.orders", orders)
    tx.write("sales.customers", customers)
print(tx.versions)

try:
    with deltalakedb.begin(catalog) as tx:
        tx.write("sales.orders", pa.table({"id": [3], "customer": ["ann"]}))
        tx.update("sales.customers", {"orders": "orders + 1"}, predicate="name = 'ann'")
        raise RuntimeError("the order was cancelled")
except RuntimeError as error:
    print(error)

rows = catalog.query(
    "SELECT name, orders, count(*) AS found FROM sales.customers "
    "JOIN sales.orders ON name = customer GROUP BY name, orders ORDER BY name"
)
found = pa.table(rows).to_pylist()
assert found == [
    {"name": "ann", "orders": 1, "found": 1},
    {"name": "bob", "orders": 1, "found": 1},
]
print(found)
