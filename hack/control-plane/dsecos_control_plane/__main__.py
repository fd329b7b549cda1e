"""`python -m dsecos_control_plane` is the command `dsecos-control-plane`."""

import sys

from dsecos_control_plane.main import main

sys.exit(main())
