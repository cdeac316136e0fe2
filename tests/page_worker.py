"""Runs the program of a page: a file of Python that may await at its top level."""

import ast
import asyncio
import inspect
import sys
from pathlib import Path
from types import CodeType, FunctionType, ModuleType


async def run(code: CodeType, module: ModuleType) -> None:
    """Run the code of a module, in an event loop for what it awaits."""
    result = FunctionType(code, vars(module))()
    if inspect.iscoroutine(result):
        await result


if __name__ == "__main__":
    file = Path(sys.argv[1])
    code = compile(file.read_text(), file, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    module = sys.modules[file.stem] = ModuleType(file.stem)
    module.__file__ = str(file)
    asyncio.run(run(code, module))
