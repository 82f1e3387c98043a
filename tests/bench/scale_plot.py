"""Tables and plots of tests/bench/scale: scale.md, scale-*.svg."""

import os
import subprocess

# key, title, format
COLUMNS = (
    ("first_s", "first start s", "{:.2f}"),
    ("bare_s", "bare look s", "{:.2f}"),
    ("to_bare", "first start to bare look", "{:.2f}"),
    ("rate", "jobs/s", "{:,.0f}"),
    ("rate_to_small", "to the first line", "{:.2f}"),
    ("late", "later jobs/s", "{:,.0f}"),
    ("late_to_small", "later, to the first line", "{:.2f}"),
    ("private_mib", "private MiB", "{:.1f}"),
    ("pss_mib", "PSS MiB", "{:.1f}"),
    ("index_mib", "index MiB", "{:.1f}"),
    ("commits", "commits/job", "{:.2f}"),
    ("status_ms", "status ms", "{:.0f}"),
    ("looked_s", "all looked at s", "{:.2f}"),
    ("wakeups", "idle wake-ups in 10 s", "{}"),
    ("idle_cpu_s", "idle CPU s in 10 s", "{:.2f}"),
)
PLOTS = (
    ("first", "Time to the first start", "first_s", "seconds"),
    ("rate", "Jobs per second", "rate", "jobs/s"),
    ("memory", "Private memory", "private_mib", "MiB"),
    ("status", "spoolctl status", "status_ms", "ms"),
)


def cell(row, key, form):
    value = row.get(key)
    return "-" if value is None else form.format(value)


def line(row):
    return ", ".join(f"{title} {cell(row, key, form)}" for key, title, form in COLUMNS
                     if row.get(key) is not None)


def table(rows):
    columns = [c for c in COLUMNS if any(row.get(c[0]) is not None for row in rows.values())]
    yield "| | " + " | ".join(title for _, title, _ in columns) + " |"
    yield "| ---: |" + " ---: |" * len(columns)
    for n, row in rows.items():
        yield f"| {n:,} | " + " | ".join(cell(row, key, form) for key, _, form in columns) + " |"


def plot(path, title, key, unit, series, results):
    script = ["set terminal svg size 640,400 dynamic background rgb 'white'",
              f"set output '{path}'", f"set title '{title}'", "set logscale x 10",
              "set format x '10^{%L}'", "set xlabel 'files, or users'", f"set ylabel '{unit}'",
              "set yrange [0:*]", "set key left top", "set grid"]
    lines = []
    for name, what in series:
        points = [(n, row[key]) for n, row in results.get(name, {}).items()
                  if row.get(key) is not None]
        if not points:
            continue
        script.append(f"${name} << EOD")
        script += [f"{n} {value}" for n, value in points]
        script.append("EOD")
        lines.append(f"${name} using 1:2 with linespoints title '{what}'")
    if lines:
        subprocess.run(["gnuplot"], input="\n".join(script + ["plot " + ", ".join(lines)]),
                       text=True, check=True)


def write(where, series, results, drain, drains, drained, late):
    text = ["# How spoold grows", "",
            "Written by `make bench-scale`; what is measured is told in the README beside it. Jobs",
            f"per second are those of the first {drain:,} jobs, beside all that a start has to do.", ""]
    for name, what in series:
        if name in results:
            text += [f"## {what[0].upper()}{what[1:]}", "", *table(results[name]), ""]
    text += ["## The rate out of a large backlog", "",
             f"Of the jobs {drained[0]:,} to {drained[1]:,}, while directories are still looked at for the "
             f"first time, and of {late[0]:,} to {late[1]:,}; medians, of ratios within a round.", ""]
    for what, rows in drains.items():
        text += [f"{what[0].upper()}{what[1:]}:", "", *table(rows), ""]
    for name, title, key, unit in PLOTS:
        plot(os.path.join(where, f"scale-{name}.svg"), title, key, unit, series, results)
        text.append(f"![{title}](scale-{name}.svg)")
    with open(os.path.join(where, "scale.md"), "w") as file:
        file.write("\n".join(text) + "\n")
