import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.InputStream;
import java.io.OutputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.EnumSet;
import java.util.stream.StreamSupport;
import org.apache.sshd.client.SshClient;
import org.apache.sshd.client.channel.ChannelShell;
import org.apache.sshd.client.channel.ClientChannel;
import org.apache.sshd.client.channel.ClientChannelEvent;
import org.apache.sshd.client.keyverifier.AcceptAllServerKeyVerifier;
import org.apache.sshd.client.session.ClientSession;
import org.apache.sshd.common.keyprovider.FileKeyPairProvider;
import org.apache.sshd.sftp.client.SftpClient;
import org.apache.sshd.sftp.client.SftpClientFactory;

/** Do with Apache MINA SSHD what driving.py describes. */
public final class WithMina {
    private static final Duration PATIENCE = Duration.ofSeconds(40);

    private static int run(ClientChannel channel, InputStream in, OutputStream out, OutputStream err) throws Exception {
        try (channel) {
            channel.setIn(in);
            channel.setOut(out);
            channel.setErr(err);
            channel.open().verify(PATIENCE);
            channel.waitFor(EnumSet.of(ClientChannelEvent.CLOSED), PATIENCE);
            return channel.getExitStatus();
        }
    }

    private static InputStream nothing() {
        return new ByteArrayInputStream(new byte[0]);
    }

    public static void main(String[] args) throws Exception {
        Path up = Path.of(args[4]), down = Path.of(args[5]);
        try (SshClient client = SshClient.setUpDefaultClient()) {
            client.setServerKeyVerifier(AcceptAllServerKeyVerifier.INSTANCE);
            client.start();
            try (ClientSession session =
                    client.connect(args[1], "127.0.0.1", Integer.parseInt(args[0])).verify(PATIENCE).getSession()) {
                if (args[2].equals("key")) {
                    session.setKeyIdentityProvider(new FileKeyPairProvider(Path.of(args[3])));
                } else {
                    session.addPasswordIdentity(args[3]);
                }
                session.auth().verify(PATIENCE);
                Facts.tell("version", client.getVersion().replaceAll(".*-", ""));
                ByteArrayOutputStream out = new ByteArrayOutputStream(), err = new ByteArrayOutputStream();
                int status = run(session.createExecChannel("echo out; echo err >&2; exit 7"), nothing(), out, err);
                Facts.tell("output", out);
                Facts.tell("errors", err);
                Facts.tell("status", status);
                if (args[2].equals("key")) {
                    all(session, up, down);
                }
            }
        }
    }

    private static void all(ClientSession session, Path up, Path down) throws Exception {
        ByteArrayOutputStream out = new ByteArrayOutputStream(), err = new ByteArrayOutputStream();
        run(session.createExecChannel("wc -c"), new ByteArrayInputStream("12345".getBytes()), out, err);
        Facts.tell("counted", out);

        ChannelShell shell = session.createShellChannel();
        shell.setPtyType("xterm");
        shell.setPtyColumns(93);
        shell.setPtyLines(31);
        out.reset();
        int left = run(shell, new ByteArrayInputStream("stty size; exit 3\n".getBytes()), out, err);
        Facts.tell("terminal", out);
        Facts.tell("left", left);

        out.reset();
        try (InputStream content = Files.newInputStream(up)) {
            run(session.createExecChannel("cat >sent && sha256sum <sent"), content, out, err);
        }
        Facts.tell("sent", out.toString().split(" ")[0]);
        try (OutputStream target = Files.newOutputStream(down)) {
            run(session.createExecChannel("cat sent"), nothing(), target, err);
        }
        try (SftpClient files = SftpClientFactory.instance().createSftpClient(session)) {
            try (OutputStream put = files.write("put")) {
                Files.copy(up, put);
            }
            files.rename("put", "named");
            try (InputStream got = files.read("named")) {
                Files.copy(got, Path.of(down + ".sftp"));
            }
            Facts.tell("listed", StreamSupport.stream(files.readDir(".").spliterator(), false)
                    .anyMatch(entry -> entry.getFilename().equals("named")));
        }
    }
}
