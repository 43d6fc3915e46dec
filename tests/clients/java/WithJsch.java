import com.jcraft.jsch.ChannelExec;
import com.jcraft.jsch.ChannelSftp;
import com.jcraft.jsch.ChannelShell;
import com.jcraft.jsch.JSch;
import com.jcraft.jsch.Session;
import java.io.InputStream;
import java.io.OutputStream;
import java.nio.file.Files;
import java.nio.file.Path;

/** Do with JSch what driving.py describes. */
public final class WithJsch {
    private static Session session;

    private static ChannelExec exec(String command) throws Exception {
        ChannelExec channel = (ChannelExec) session.openChannel("exec");
        channel.setCommand(command);
        return channel;
    }

    public static void main(String[] args) throws Exception {
        String up = args[4], down = args[5];
        JSch jsch = new JSch();
        if (args[2].equals("key")) {
            jsch.addIdentity(args[3]);
        }
        session = jsch.getSession(args[1], "127.0.0.1", Integer.parseInt(args[0]));
        session.setConfig("StrictHostKeyChecking", "no");
        if (args[2].equals("password")) {
            session.setPassword(args[3]);
        }
        session.connect(20000);
        Facts.tell("version", JSch.VERSION);
        ChannelExec first = exec("echo out; echo err >&2; exit 7");
        StringBuilder errors = new StringBuilder();
        InputStream output = first.getInputStream();
        InputStream complaints = first.getErrStream();
        first.connect();
        Thread reading = Facts.reading(complaints, errors);
        Facts.tell("output", Facts.text(output));
        reading.join();
        Facts.tell("errors", errors);
        Facts.tell("status", ended(first));
        if (args[2].equals("key")) {
            ChannelExec counting = exec("wc -c");
            InputStream counted = counting.getInputStream();
            OutputStream digits = counting.getOutputStream();
            counting.connect();
            digits.write("12345".getBytes());
            digits.close();
            Facts.tell("counted", Facts.text(counted));

            ChannelShell shell = (ChannelShell) session.openChannel("shell");
            shell.setPtyType("xterm", 93, 31, 0, 0);
            InputStream screen = shell.getInputStream();
            OutputStream keys = shell.getOutputStream();
            shell.connect();
            keys.write("stty size; exit 3\n".getBytes());
            keys.flush();
            Facts.tell("terminal", Facts.text(screen));
            Facts.tell("left", ended(shell));

            ChannelExec sending = exec("cat >sent && sha256sum <sent");
            InputStream sum = sending.getInputStream();
            OutputStream content = sending.getOutputStream();
            sending.connect();
            Files.copy(Path.of(up), content);
            content.close();
            Facts.tell("sent", Facts.text(sum).split(" ")[0]);
            ChannelExec back = exec("cat sent");
            InputStream stream = back.getInputStream();
            back.connect();
            Files.copy(stream, Path.of(down));

            ChannelSftp files = (ChannelSftp) session.openChannel("sftp");
            files.connect();
            files.put(up, "put");
            files.rename("put", "named");
            files.get("named", down + ".sftp");
            Facts.tell("listed", files.ls(".").stream().anyMatch(entry -> entry.getFilename().equals("named")));
        }
        session.disconnect();
    }

    private static int ended(com.jcraft.jsch.Channel channel) throws Exception {
        while (!channel.isClosed()) {
            Thread.sleep(5);
        }
        return channel.getExitStatus();
    }
}
