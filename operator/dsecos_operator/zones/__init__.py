"""NetworkZone: judged, given an id, and attached to each node that has guests of it or of its peers.

check, mtu    networks and packet size, or why they cannot be had; network: both, as one verdict
ids           which zone has which VXLAN network identifier or 802.1Q id; claiming: how one gets it
presence      where its guests are
peers         what it has agreed on with other zones
naming        which names its guests find; services: those of one Guest
attachments   what each node is told
whole         all of it for a whole cluster at once, without an API server
"""
