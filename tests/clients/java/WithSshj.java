import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import net.schmizz.sshj.SSHClient;
import net.schmizz.sshj.connection.channel.direct.PTYMode;
import net.schmizz.sshj.connection.channel.direct.Session;
import net.schmizz.sshj.sftp.SFTPClient;
import net.schmizz.sshj.transport.verification.PromiscuousVerifier;
import net.schmizz.sshj.xfer.FileSystemFile;

/** Do with sshj what driving.py describes. */
public final class WithSshj {
    public static void main(String[] args) throws Exception {
        String up = args[4], down = args[5];
        try (SSHClient client = new SSHClient()) {
            client.addHostKeyVerifier(new PromiscuousVerifier());
            client.connect("127.0.0.1", Integer.parseInt(args[0]));
            if (args[2].equals("key")) {
                client.authPublickey(args[1], args[3]);
            } else {
                client.authPassword(args[1], args[3]);
            }
            Facts.tell("version", "0.40.0");
            try (Session session = client.startSession()) {
                Session.Command command = session.exec("echo out; echo err >&2; exit 7");
                StringBuilder errors = new StringBuilder();
                Thread reading = Facts.reading(command.getErrorStream(), errors);
                Facts.tell("output", Facts.text(command.getInputStream()));
                reading.join();
                command.join();
                Facts.tell("errors", errors);
                Facts.tell("status", command.getExitStatus());
            }
            if (!args[2].equals("key")) {
                return;
            }
            try (Session session = client.startSession()) {
                Session.Command command = session.exec("wc -c");
                command.getOutputStream().write("12345".getBytes());
                command.getOutputStream().close();
                Facts.tell("counted", Facts.text(command.getInputStream()));
            }
            try (Session session = client.startSession()) {
                session.allocatePTY("xterm", 93, 31, 0, 0, Map.<PTYMode, Integer>of());
                Session.Shell shell = session.startShell();
                shell.getOutputStream().write("stty size; exit 3\n".getBytes());
                shell.getOutputStream().flush();
                Facts.tell("terminal", Facts.text(shell.getInputStream()));
                shell.join();
                Facts.tell("left", ((net.schmizz.sshj.connection.channel.direct.SessionChannel) shell).getExitStatus());
            }
            try (Session session = client.startSession()) {
                Session.Command command = session.exec("cat >sent && sha256sum <sent");
                Files.copy(Path.of(up), command.getOutputStream());
                command.getOutputStream().close();
                Facts.tell("sent", Facts.text(command.getInputStream()).split(" ")[0]);
            }
            try (Session session = client.startSession()) {
                Files.copy(session.exec("cat sent").getInputStream(), Path.of(down));
            }
            try (SFTPClient files = client.newSFTPClient()) {
                files.put(new FileSystemFile(up), "put");
                files.rename("put", "named");
                files.get("named", new FileSystemFile(down + ".sftp"));
                Facts.tell("listed", files.ls(".").stream().anyMatch(entry -> entry.getName().equals("named")));
            }
        }
    }
}
