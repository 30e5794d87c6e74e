"""Pages of HTML with everything inside: no script, nothing loaded from elsewhere."""

import base64

FRAME = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
{head}<title>{title}</title>
<style>{style}</style>
</head>
<body>
{body}
</body>
</html>
"""


def frame(title: str, style: str, body: str, head: str = "") -> str:
    """title: escaped text; style: CSS; body: HTML; head: further lines of the page's head, each with its end."""
    return FRAME.format(title=title, style=style, body=body, head=head)


def data_uri(data: bytes, kind: str = "image/png") -> str:
    """A picture as the address of an <img>. kind: its media type."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
