# Asks the server at 127.0.0.11 for the name in the first argument with sockets of every kind and prints whom each
# believes to speak to.
use strict;
use Socket qw(:all);

my $query = pack("n6", 7, 0x100, 1, 0, 0, 0) . pack("C/a", $ARGV[0]) . pack("Cnn", 0, 1, 1);

sub name {
	my ($family, $address) = @_;
	my ($port, $host) = $family == AF_INET6 ? unpack_sockaddr_in6($address) : unpack_sockaddr_in($address);
	return inet_ntop($family, $host) . " port $port";
}

# answered says whether an answer to the query, without error and with one address, came.
sub answered {
	my ($id, $flags, $questions, $answers) = unpack("n4", $_[0]);
	return $id == 7 && ($flags & 15) == 0 && $answers == 1 ? "answered" : "no answer";
}

alarm 60;
for my $host ("127.0.0.11", "::ffff:127.0.0.11") {
	my $family = $host =~ /:/ ? AF_INET6 : AF_INET;
	my $server = $family == AF_INET6
		? pack_sockaddr_in6(53, inet_pton($family, $host))
		: pack_sockaddr_in(53, inet_pton($family, $host));
	my $answer;

	socket(my $free, $family, SOCK_DGRAM, 0) or die "socket: $!";
	defined(send($free, $query, 0, $server)) or die "sendto $host: $!";
	my $from = recv($free, $answer, 512, 0);
	print "unconnected: ", name($family, $from), " ", answered($answer), "\n";

	socket(my $bound, $family, SOCK_DGRAM, 0) or die "socket: $!";
	connect($bound, $server) or die "connect $host: $!";
	defined(send($bound, $query, 0)) or die "send $host: $!";
	recv($bound, $answer, 512, 0);
	print "connected: ", name($family, getpeername($bound)), " ", answered($answer), "\n";

	socket(my $stream, $family, SOCK_STREAM, 0) or die "socket: $!";
	connect($stream, $server) or die "connect $host over TCP: $!";
	syswrite($stream, pack("n/a", $query));
	sysread($stream, $answer, 2 + 512);
	print "stream: ", name($family, getpeername($stream)), " ", answered(substr($answer, 2)), "\n";
}
