"""What every part of the run file has in common."""

import difflib
from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator


class Section(BaseModel):
    """A part of the run file: frozen, and no unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _name_the_nearest_key(cls, data: Any) -> Any:
        names = [field.alias or name for name, field in cls.model_fields.items()]
        for key in data if isinstance(data, dict) else ():
            if key not in names:
                near = difflib.get_close_matches(str(key), names, n=1)
                mend = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(names)}"
                raise ValueError(f"unknown key {key!r}: {mend}")
        return data
