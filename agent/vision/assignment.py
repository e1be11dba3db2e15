"""Who is who, all at once: rows matched with columns at the least total cost."""

import math
from collections.abc import Mapping, Sequence


def assign(costs: Sequence[Mapping[int, float]]) -> list[int | None]:
    """Match rows with columns: as many pairs as possible, at the least total cost.

    costs: for each row (a track) the cost of each column (a face) that it may have. Returns the column of each row.
    Rows that compete for no column are matched on their own, which is nearly all of them.
    """
    matched: list[int | None] = [None] * len(costs)
    for rows in _rivals(costs):
        if len(rows) == 1:
            (row,) = rows
            matched[row] = min(costs[row], key=lambda column: (costs[row][column], column))
            continue
        columns = sorted({column for row in rows for column in costs[row]})
        # Leaving a row alone costs more than all pairs together, so it happens only where there is no pair for it; what
        # may not be costs more than that.
        alone = 1.0 + sum(sum(costs[row].values()) for row in rows)
        never = alone * (len(rows) + 1)
        table = [[costs[row].get(column, never) for column in columns] + [alone] * len(rows) for row in rows]
        for row, place in zip(rows, _shortest_paths(table), strict=True):
            if place < len(columns):
                matched[row] = columns[place]
    return matched


def _rivals(costs: Sequence[Mapping[int, float]]) -> list[list[int]]:
    """Split the rows that may have any column into groups without a column in common."""
    groups: list[tuple[list[int], set[int]]] = []
    for row, options in enumerate(costs):
        if not options:
            continue
        rows, columns = [row], set(options)
        apart = []
        for group in groups:
            if columns.isdisjoint(group[1]):
                apart.append(group)
            else:
                rows, columns = group[0] + rows, columns | group[1]
        groups = [*apart, (rows, columns)]
    return [rows for rows, _ in groups]


def _shortest_paths(costs: list[list[float]]) -> list[int]:
    """Give the column of each row at the least total cost; at least as many columns as rows.

    Source: shortest augmenting paths with potentials, Jonker and Volgenant 1987 (indices from 1, column 0 is a root).
    """
    rows, columns = len(costs), len(costs[0])
    row_price, column_price = [0.0] * (rows + 1), [0.0] * (columns + 1)
    owner, came_from = [0] * (columns + 1), [0] * (columns + 1)
    for row in range(1, rows + 1):
        owner[0] = row
        column = 0
        least, done = [math.inf] * (columns + 1), [False] * (columns + 1)
        while owner[column]:
            done[column] = True
            here, step, nearest = owner[column], math.inf, 0
            for other in range(1, columns + 1):
                if done[other]:
                    continue
                price = costs[here - 1][other - 1] - row_price[here] - column_price[other]
                if price < least[other]:
                    least[other], came_from[other] = price, column
                if least[other] < step:
                    step, nearest = least[other], other
            for other in range(columns + 1):
                if done[other]:
                    row_price[owner[other]] += step
                    column_price[other] -= step
                else:
                    least[other] -= step
            column = nearest
        while column:
            owner[column], column = owner[came_from[column]], came_from[column]
    result = [0] * rows
    for column in range(1, columns + 1):
        if owner[column]:
            result[owner[column] - 1] = column - 1
    return result
