# The card of files/wic/hirte-rpi4.wks, compressed, with the map by which only its used blocks are written.
WKS_FILE:rpi = "hirte-rpi4.wks"
IMAGE_FSTYPES:rpi = "wic.zst wic.bmap"
