/**
 * A plain hop, a process of its own: every connection goes on to the port named on the command line, both ways, and
 * nothing is looked at. Two of them in a row are what a tunnel cannot beat on this platform without doing less than
 * a tunnel does. Prints the port it listens on.
 */
import net from 'node:net'

const target = { host: '127.0.0.1', port: Number(process.argv[2]), allowHalfOpen: true, noDelay: true }

const server = net.createServer({ allowHalfOpen: true, noDelay: true }, (near) => {
  const far = net.connect(target)
  near.on('error', () => far.destroy())
  far.on('error', () => near.destroy())
  near.pipe(far).pipe(near)
})
server.listen(0, '127.0.0.1', () => console.log((server.address() as net.AddressInfo).port))
