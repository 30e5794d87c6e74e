"""`python -m DLReconLib` is the command `dlrecon`."""

import sys

from DLReconLib.cli import main

sys.exit(main())
