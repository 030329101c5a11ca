# SPDX-License-Identifier: BSD-3-Clause
"""Tables in Markdown. Ratios are formed within each round, whose measurements lie seconds apart, and
the median of the rounds' ratios is shown."""
import statistics


def ratio(samples, name, base, key):
    """The median over all rounds in which both were measured of name's value by base's; None
    without such a round. `samples`: name -> round -> {key: value}."""
    ratios = [sample[key] / samples[base][r][key]
              for r, sample in samples.get(name, {}).items()
              if r in samples.get(base, {}) and samples[base][r][key]]
    return statistics.median(ratios) if ratios else None


def spread(samples, name, base, key):
    """Half the range of the ratios, which tells how far they may be trusted."""
    ratios = [sample[key] / samples[base][r][key]
              for r, sample in samples.get(name, {}).items()
              if r in samples.get(base, {}) and samples[base][r][key]]
    return (max(ratios) - min(ratios)) / 2 if ratios else None


def median(samples, name, key):
    values = [sample[key] for sample in samples.get(name, {}).values()]
    return statistics.median(values) if values else None


def number(value, digits=2):
    return "-" if value is None else f"{value:.{digits}f}"


def table(head, rows):
    rows = [head, *rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]

    def line(cells):
        return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths)) + " |"
    print(line(rows[0]))
    print("|" + "|".join("-" * (width + 2) for width in widths) + "|")
    for row in rows[1:]:
        print(line(row))
    print(flush=True)


def ratios(title, row_names, columns, samples, base, key):
    """A table with a row for each piece of work and a column for each contender; the last column
    is the base's own value. `samples`: row -> contender -> round -> values."""
    names = [name for name in columns if any(samples[row].get(name) for row in row_names)]
    if base not in names:
        return
    print(f"{title}, {base} = 1.00:\n")
    table(["work", *names],
          [[row, *[number(ratio(samples[row], name, base, key)) for name in names]]
           for row in row_names])
