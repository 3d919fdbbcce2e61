"""lab_store: results as JSON files. Kept results (docs/results) are small: medians and rates, no single runs, no long figures."""
import json
import os


def rounded(value, digits=5):
    """The same with every float cut to so many significant digits; an error keeps what happened, not what was
    printed."""
    if isinstance(value, float):
        return float(f"{value:.{digits}g}")
    if isinstance(value, dict):
        return {k: v.partition(":")[0] if k == "error" else rounded(v, digits) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [rounded(v, digits) for v in value]
    return value


def dumped(results):
    """JSON with one line per entry of the first two levels, so that two files can be compared line by line."""
    lines = []
    for key, value in results.items():
        if isinstance(value, dict) and value:
            inner = ",\n".join(f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in value.items())
            lines.append(f" {json.dumps(key)}: {{\n{inner}\n }}")
        else:
            lines.append(f" {json.dumps(key)}: {json.dumps(value)}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def keep(results, path):
    """Writes the small form of the results."""
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    with open(path, "w", encoding="utf-8") as f:
        f.write(dumped(rounded({k: v for k, v in results.items() if k != "runs"})))


def load(path):
    with open(path, encoding="utf-8") as f:
        return json.load(f)


def load_folder(folder):
    """{kind: results} of every results file there."""
    found = {}
    for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else []:
        if name.endswith(".json"):
            found[name[:-len(".json")]] = load(os.path.join(folder, name))
    return found
