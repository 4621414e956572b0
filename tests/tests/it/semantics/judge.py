"""Runs statements in DuckDB: makes the tables of `tables.sql`, puts each into a Parquet file in a folder, and answers.

The input is a list of [statement, query]: the rows of the statement if there is no query, or else those that the query
gives after it. What a statement changes is taken back. The output is a list of sorted rows, or "error".
"""

import datetime
import decimal
import json
import math
import sys

import duckdb


def text(value):
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case float() if math.isnan(value):
            return "NaN"
        case float() if math.isinf(value):
            return "inf" if value > 0 else "-inf"
        case int() | float() | decimal.Decimal():
            digits = format(decimal.Decimal(repr(value) if isinstance(value, float) else value), "f")
            return digits.rstrip("0").rstrip(".") if "." in digits else digits
        case datetime.datetime():
            return value.replace(tzinfo=None).isoformat(" ", "microseconds")
        case list():
            return "[" + ", ".join(map(text, value)) + "]"
        case _:
            return str(value)


def rows(answer):
    table = answer.to_arrow_table()
    columns = [column.to_pylist() for column in table.columns]
    return sorted("|".join(map(text, row)) for row in zip(*columns))


def main():
    tables, folder = sys.argv[1:]
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute(tables)
    for (name,) in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall():
        connection.execute(f"COPY {name} TO '{folder}/{name}.parquet'")
    answers = []
    for statement, query in json.load(sys.stdin):
        connection.execute("BEGIN")
        try:
            answer = connection.execute(statement)
            answers.append(rows(connection.execute(query) if query else answer))
        except duckdb.Error as e:
            answers.append(["error"])
            print(f"{statement}: {str(e).splitlines()[0]}", file=sys.stderr)
        connection.execute("ROLLBACK")
    json.dump(answers, sys.stdout)


main()
