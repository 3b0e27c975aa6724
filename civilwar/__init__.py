"""Every attention head of a training run, measured, and each claim about them held against a rule.

The names below are loaded when they are first asked for, so that ``import civilwar`` costs nothing: SPEC 1 of the
Scientific Python ecosystem. ``__init__.pyi`` says where each is at home.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
