# The card of files/wic/hirte-rpi4.wks, compressed, with the map by which only its used blocks are written.
# nooelint: oelint.vars.specific - meta-raspberrypi makes rpi an override of its machines
WKS_FILE:rpi ?= "hirte-rpi4.wks"
# nooelint: oelint.vars.specific - the same
IMAGE_FSTYPES:rpi ?= "wic.zst wic.bmap"
