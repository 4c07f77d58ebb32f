/* eth0: up, the address that udhcpc was given, and an announcement of it. */
#define _GNU_SOURCE
#include "guest.h"
#include <arpa/inet.h>
#include <errno.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <netinet/if_ether.h>
#include <netpacket/packet.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define DEVICE "eth0"

static int request(unsigned long what, struct ifreq *ifreq)
{
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    strcpy(ifreq->ifr_name, DEVICE);
    int error = fd < 0 || ioctl(fd, what, ifreq) ? -errno : 0;
    if (fd >= 0)
        close(fd);
    return error;
}

static int set_address(unsigned long what, const char *text)
{
    struct ifreq ifreq = {0};
    struct sockaddr_in *address = (void *)&ifreq.ifr_addr;
    address->sin_family = AF_INET;
    if (!text || !inet_aton(text, &address->sin_addr))
        return -EINVAL;
    return request(what, &ifreq);
}

int network_up(void)
{
    struct ifreq ifreq = {0};
    ifreq.ifr_flags = IFF_UP | IFF_RUNNING;
    return request(SIOCSIFFLAGS, &ifreq);
}

/* A gratuitous ARP request, so that the switch and the neighbours learn where the address is now. */
static int announce(const char *text)
{
    struct {
        struct ether_header ethernet;
        struct ether_arp arp;
    } __attribute__((packed)) frame = {0};
    struct ifreq mac = {0}, index = {0};
    if (request(SIOCGIFHWADDR, &mac) || request(SIOCGIFINDEX, &index))
        return -errno;
    memset(frame.ethernet.ether_dhost, 0xff, ETH_ALEN);
    memcpy(frame.ethernet.ether_shost, mac.ifr_hwaddr.sa_data, ETH_ALEN);
    frame.ethernet.ether_type = htons(ETHERTYPE_ARP);
    frame.arp.ea_hdr = (struct arphdr){htons(ARPHRD_ETHER), htons(ETHERTYPE_IP), ETH_ALEN, 4,
                                       htons(ARPOP_REQUEST)};
    memcpy(frame.arp.arp_sha, mac.ifr_hwaddr.sa_data, ETH_ALEN);
    inet_pton(AF_INET, text, frame.arp.arp_spa);
    inet_pton(AF_INET, text, frame.arp.arp_tpa);
    struct sockaddr_ll to = {.sll_family = AF_PACKET, .sll_ifindex = index.ifr_ifindex,
                             .sll_halen = ETH_ALEN};
    int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
    ssize_t put = fd < 0 ? -1 : sendto(fd, &frame, sizeof frame, 0, (void *)&to, sizeof to);
    int error = put < 0 ? -errno : 0;
    if (fd >= 0)
        close(fd);
    return error;
}

/* udhcpc runs us as its script. `deconfig` is not obeyed: a server whose DHCP server is out of
 * reach keeps its address, because losing it would turn a cut network into a lost server. */
int network_event(const char *event)
{
    const char *address = getenv("ip"), *mask = getenv("subnet");
    if (strcmp(event, "bound") && strcmp(event, "renew"))
        return 0;
    int error = set_address(SIOCSIFADDR, address);
    if (!error)
        error = set_address(SIOCSIFNETMASK, mask ? mask : "255.255.255.0");
    if (!error)
        error = announce(address);
    if (!strcmp(event, "bound") || error)
        say("net %s %s", address ? address : "none", error ? strerror(-error) : "up");
    return error != 0;
}
