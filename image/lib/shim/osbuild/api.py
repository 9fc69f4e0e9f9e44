"""The arguments of a stage."""

import json


def arguments():
    """Tree, inputs and options, as osbuild gives them."""
    with open("/run/osbuild/api/arguments", encoding="utf8") as file:
        return json.load(file)
