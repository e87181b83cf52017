"""Built-in models: folders that come with tomostain or with another package, named ``builtin:NAME``.

A folder next to this file that holds a ``model.yaml`` is a built-in model under the name of the folder. Another package
adds one by an entry point in the group ``tomostain.models`` (docs/how-to/add-a-model.md).
"""

from tomostain.models.catalogue import (
    PREFIX,
    builtin_folder,
    builtin_names,
    find_model,
    is_builtin,
    model_name,
    suggest_builtin,
)

__all__ = ["PREFIX", "builtin_folder", "builtin_names", "find_model", "is_builtin", "model_name", "suggest_builtin"]
