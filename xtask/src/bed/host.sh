# The first process of a host of the bed, in namespaces of its own: host.sh DIRECTORY NAME.
#
# It sees the machine's files, but what it writes to /etc and /var stays in DIRECTORY, where it outlives the
# processes, as a disk does; /run is lost with them. When this process is killed, the kernel kills all others of the
# host, its pods included, and drops every mount.
set -eu
directory=$1
hostname "$2"

# Kubelet wants its mounts to reach the pods; they do not reach the machine.
mount --make-rshared /

# Locks and sockets of the machine are not the host's. The files of the bed are at a place that does not depend on
# where the checkout is.
mkdir -p "$directory/run"
mount -t tmpfs -o mode=755 bed-run "$directory/run"
mkdir "$directory/run/lock" "$directory/run/bed"
mount --bind "${directory%/*}" "$directory/run/bed"
mount --rbind "$directory/run" /run
disk=/run/bed/$2

for part in etc var; do
  mkdir -p "$disk/$part/upper" "$disk/$part/work"
  mount -t overlay "bed-$part" -o "lowerdir=/$part,upperdir=$disk/$part/upper,workdir=$disk/$part/work" "/$part"
done
# Containers live on layered file systems, which cannot lie upon another one: theirs is a real directory.
mkdir -p "$disk/containerd" "$disk/cni" /var/lib/containerd /etc/cni/net.d
mount --bind "$disk/containerd" /var/lib/containerd
mount --bind "$disk/cni" /etc/cni/net.d

echo 1 >/proc/sys/net/ipv4/ip_forward
echo 1 >/proc/sys/net/ipv6/conf/all/forwarding

echo ready
exec >/dev/null 2>&1 </dev/null

# Waiting reaps whatever is orphaned in the host.
while :; do
  sleep 1000000 &
  wait
done
