"""joined_rows: the fewest tables of which a row of a query surely holds one."""

from __future__ import annotations

import pytest

from raypipe.engine.joined_rows import joined_rows
from raypipe.engine.output_sql import parse_select


@pytest.mark.parametrize(
    ("sql", "found"),
    [
        ("SELECT * FROM rows", ["rows"]),
        ("SELECT * FROM rows JOIN clicks USING (id)", ["clicks rows"]),
        ("SELECT * FROM rows, clicks", ["clicks rows"]),
        ("SELECT * FROM rows ASOF LEFT JOIN clicks ON rows.t >= clicks.t", ["rows"]),
        ("SELECT * FROM rows LEFT JOIN clicks USING (id)", ["rows"]),
        ("SELECT * FROM clicks LEFT JOIN rows USING (id)", ["clicks"]),
        ("SELECT * FROM rows RIGHT JOIN clicks USING (id)", ["clicks"]),
        ("SELECT * FROM rows FULL JOIN clicks USING (id)", ["clicks", "rows"]),
        ("SELECT * FROM rows SEMI JOIN clicks USING (id)", ["rows"]),
        ("SELECT * FROM clicks ANTI JOIN rows USING (id)", ["clicks"]),
        ("SELECT * FROM rows JOIN (clicks LEFT JOIN marks USING (id)) USING (id)", ["clicks rows"]),
        ("SELECT * FROM clicks LEFT JOIN marks USING (id) JOIN rows USING (id)", ["clicks rows"]),
        ("SELECT id FROM rows UNION ALL SELECT id FROM clicks", ["clicks", "rows"]),
        ("SELECT id FROM rows EXCEPT SELECT id FROM clicks", ["clicks", "rows"]),
        ("SELECT * FROM (SELECT * FROM clicks) AS c LEFT JOIN rows USING (id)", ["clicks"]),
        ("WITH c AS (SELECT id, min(t) FROM clicks GROUP BY id) SELECT * FROM rows LEFT JOIN c USING (id)", ["rows"]),
        ("WITH c AS (SELECT * FROM clicks), d AS (SELECT * FROM c) SELECT * FROM d LEFT JOIN rows USING (id)", ["clicks"]),
        ("WITH clicks AS (SELECT * FROM rows) SELECT * FROM clicks", ["rows"]),
        ("SELECT * FROM rows, unnest([1, 2]) AS u(n)", ["rows"]),
        ("SELECT *, (SELECT count(*) FROM clicks) FROM rows", ["rows"]),
        ("SELECT 1", []),
    ],
)
def test_a_row_holds_one_of_each_table_that_its_joins_require(sql, found):
    _, tree = parse_select(sql, None)
    assert sorted(" ".join(sorted(one)) for one in joined_rows(tree)) == found
