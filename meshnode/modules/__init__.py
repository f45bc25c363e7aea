"""What a module is: sections, manifest, signature, pieces, names. Floor 2: bytes in, values out.

`docs/module-format.md` has the bytes. Nothing here touches a file or a clock; `storage` keeps
modules on disk, `runtime` runs them, and `node/library.py` joins the three.
"""
