"""lab_stats: the statistics of the laboratory, as plain functions of lists of numbers."""
import statistics


def spread(values):
    """The coefficient of variation, in percent."""
    return 100 * statistics.stdev(values) / statistics.mean(values) if len(values) > 1 else 0.0


def described(values):
    """The figures of the ten-run protocol."""
    return {"runs": len(values), "mean": statistics.mean(values), "median": statistics.median(values),
            "sd": statistics.stdev(values) if len(values) > 1 else 0.0, "cv": spread(values),
            "min": min(values), "max": max(values)}


def low_percentile(values, percent):
    """The value below which `percent` of the values fall (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def drift(values):
    """The difference between the mean of the last tenth and that of the first, in percent."""
    part = max(1, len(values) // 10)
    first, last = statistics.mean(values[:part]), statistics.mean(values[-part:])
    return 100 * (last - first) / first


def thinned(points, most, choose=statistics.mean):
    """At most `most` points of a line: neighbours are joined, `choose` selects their y, and the first x is kept."""
    step = -(-len(points) // most) if points else 1
    groups = [points[i:i + step] for i in range(0, len(points), step)]
    return [(group[0][0], choose([y for _, y in group])) for group in groups]


geometric_mean = statistics.geometric_mean
